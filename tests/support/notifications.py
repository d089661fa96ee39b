"""Notifications of S3 in a queue of a made-up SQS, for tests."""

import json
from contextlib import contextmanager

import boto3
from moto import mock_aws

from workers.watching.notifications import Notifications
from workers.watching.sqs import Queue


def message(bucket, *keys):
    """Return a message as S3 writes it; keys are URL-encoded."""
    return json.dumps(
        {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 1}},
                }
                for key in keys
            ]
        }
    )


@contextmanager
def queueing():
    """Make a queue of a made-up SQS; requests to S3 go where they always do."""
    with mock_aws(config={"core": {"mock_credentials": False}}):
        client = boto3.client(
            "sqs",
            region_name="eu-west-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        yield Queue(client, client.create_queue(QueueName="events")["QueueUrl"])


def send(queue, *bodies):
    for body in bodies:
        queue.client.send_message(QueueUrl=queue.url, MessageBody=body)


def count_messages(queue):
    """Return how many messages are in the queue, those that were received and stay included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)
    return sum(int(answer["Attributes"][name]) for name in names)


def times_named(pipeline, last):
    """Return how often each partition up to the last was named since it was scanned."""
    notifications = Notifications(pipeline.database).until("user_profiles", last)
    return {notification.partition: notification.times for notification in notifications}
