"""Fills a topic with messages as a service sends them that works on a browser's requests.

python kafka_fill.py TOPIC COUNT
"""

import os
import sys

import kafka


def main(topic, count):
    producer = kafka.KafkaProducer(bootstrap_servers=os.environ["KAFKA"])
    for number in range(int(count)):
        headers = [
            ("x-highlight-request", f"abcdefghijklmnopqrstuvwxyz{number % 97:02}/{number:032x}".encode()),
            ("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-01".encode()),
        ]
        producer.send(topic, b'{"order": %d, "state": "sent"}' % number, headers=headers)
    producer.flush()
    producer.close()


main(*sys.argv[1:])
