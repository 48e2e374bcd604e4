"""A consumer of Kafka's: each order becomes a task of Celery's."""

import logging
import os

from kafka import KafkaConsumer, TopicPartition
from tasks import ship

log = logging.getLogger("worker")
consumer = KafkaConsumer(bootstrap_servers=os.environ["KAFKA"], auto_offset_reset="earliest", enable_auto_commit=False)
consumer.assign([TopicPartition("orders", 0)])
print("ready", flush=True)
for message in consumer:
    log.warning("order %s has come", message.value.decode())
    ship.delay(int(message.value))
