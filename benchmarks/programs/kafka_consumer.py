"""Reads a topic from its beginning.

    python kafka_consumer.py TOPIC COUNT EACH

Prints what wsgi_client.py prints; EACH is always 1.
"""

import json
import os
import sys
import time

import kafka

WARM_UP = 10


def main(topic, count, each):
    consumer = kafka.KafkaConsumer(bootstrap_servers=os.environ["KAFKA"], auto_offset_reset="earliest")
    partition = kafka.TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    for number, message in enumerate(consumer):
        if json.loads(message.value)["order"] != number:
            sys.exit("a message is missing")
        if number == WARM_UP - 1:
            print(time.process_time_ns(), flush=True)
        if number == WARM_UP + int(count) - 1:
            break
    consumer.close()


main(*sys.argv[1:])
