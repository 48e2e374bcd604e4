"""botocore, boto3 and aiobotocore: calls of AWS from a request, messages to queues, and the work of who reads them."""

from __future__ import annotations

import json
import re

import botocore.session
import pytest

from tests.support import hostile
from tests.support.target import Target

SERVICE = """
import asyncio, copy, datetime, json, logging, os
import boto3, requests
from aiobotocore.session import get_session
from botocore.config import Config
from flask import Flask, request

app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True
clients = {}

def client(name, url):
    key = name, url
    if key not in clients:
        retries = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
        clients[key] = boto3.client(name, endpoint_url=url, config=retries)
    return clients[key]

async def call_aio(name, url, operation, parameters):
    async with get_session().create_client(name, endpoint_url=url) as made:
        return await getattr(made, operation)(**parameters)

@app.post("/call/<name>/<operation>")
def call(name, operation):
    url = request.args.get("url", os.environ["AWS_URL"])
    parameters = request.json
    given = copy.deepcopy(parameters)
    try:
        if "aio" in request.args:
            answer = asyncio.run(call_aio(name, url, operation, parameters))
        else:
            answer = getattr(client(name, url), operation)(**parameters)
    except Exception as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    assert parameters == given
    if "Body" in answer:
        answer["Body"] = answer["Body"].read().decode()
    answer.pop("ResponseMetadata", None)
    return json.dumps(answer, default=str)

@app.post("/presigned")
def presigned():
    url = client("s3", request.args["url"]).generate_presigned_url("get_object", request.json)
    return [requests.get(url).text, url]

@app.post("/resource")
def resource():
    boto3.resource("sqs", endpoint_url=os.environ["AWS_URL"]).Queue(request.json).send_message(MessageBody="whole")
    return "sent"

app.run(port=int(os.environ["PORT"]))
"""
CONSUMER = """
import asyncio, json, logging, os, sys
import boto3
from aiobotocore.session import get_session
from highlight_autoinstrument import message_context

log = logging.getLogger("app")
way, queue, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
asked = {"QueueUrl": queue}
sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_URL"])
given = json.dumps(asked)

def told(message):
    message = {key: value for key, value in message.items() if key not in ("ReceiptHandle", "MessageId")}
    print(json.dumps(message, default=str))

def work(message):
    log.warning("working on %s", message["Body"])
    if message["Body"] == "bad":
        raise LookupError("no such order")
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

def one_by_one():
    for _ in range(number):
        for message in sqs.receive_message(**asked)["Messages"]:
            try:
                work(message)
            except LookupError:
                log.exception("it failed")

async def one_by_one_aio():
    async with get_session().create_client("sqs", endpoint_url=os.environ["AWS_URL"]) as aio:
        for _ in range(number):
            for message in (await aio.receive_message(**asked))["Messages"]:
                log.warning("working on %s", message["Body"])
        await aio.receive_message(**asked)

def batch(messages, body):
    log.warning("a batch of %s", len(messages))
    for message in messages:
        with message_context(message):
            log.warning("working on %s", body(message))

if way == "one":
    one_by_one()
elif way == "ask":
    for parameters in json.loads(sys.argv[4]):
        for message in sqs.receive_message(**parameters)["Messages"]:
            told(message)
elif way == "aio":
    asyncio.run(one_by_one_aio())
elif way == "batch":
    batch(sqs.receive_message(MaxNumberOfMessages=10, **asked)["Messages"], lambda message: message["Body"])
elif way == "resource":
    resource = boto3.resource("sqs", endpoint_url=os.environ["AWS_URL"])
    sqs = resource.meta.client
    batch(resource.Queue(queue).receive_messages(MaxNumberOfMessages=10), lambda message: message.body)
assert json.dumps(asked) == given
sqs.receive_message(**asked)
log.warning("done")
"""
HEADERS = {"x-highlight-request": "s1/r1", "content-type": "application/json"}
AWS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Aws:
    """A service that calls AWS, and a client of the test's own."""

    def __init__(self, service, url):
        import boto3

        self.service = service
        keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        self.client = lambda name: boto3.client(name, endpoint_url=url, **keys)

    def call(self, name, operation, session="s1", query="", **parameters):
        headers = {**HEADERS, "x-highlight-request": f"{session}/r1"}
        answer = self.service.request(
            "POST", f"/call/{name}/{operation}{query}", headers, json.dumps(parameters).encode()
        )
        assert answer.status == 200, answer.text
        return json.loads(answer.text)

    def queue(self, name):
        return self.client("sqs").create_queue(QueueName=name)["QueueUrl"]

    def receive(self, queue):
        """The messages of a queue, with all their attributes."""
        sqs = self.client("sqs")
        found = []
        while messages := sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"]).get("Messages"):
            found += messages
        return found


@pytest.fixture
def aws(run_service, aws_url):
    return Aws(
        run_service("python service.py", files={"service.py": SERVICE}, env={**AWS, "AWS_URL": aws_url}), aws_url
    )


@pytest.fixture
def consume(run_python, aws_url, tmp_path):
    def consume(*arguments, **options):
        (tmp_path / "consumer.py").write_text(CONSUMER)
        done = run_python(["consumer.py", *map(str, arguments)], env={**AWS, "AWS_URL": aws_url}, **options)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return consume


def texts(message):
    return {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}


def spans(receiver):
    return [(span.name, span.kind, span.session, span.status) for span in receiver.spans]


def told(receiver):
    return [(log.body, log.session) for log in receiver.logs if log.logger == "app"]


def errors(receiver):
    return [(error.type, error.message, error.session) for error in receiver.errors]


def parent(span):
    return f"00-{span.trace_id}-{span.span_id}-01"


@pytest.mark.parametrize("query", ["", "?aio"])
def test_a_call_is_one_client_span(aws, receiver, query):
    bucket = f"bucket{len(query)}"
    aws.call("s3", "create_bucket", query=query, Bucket=bucket)
    missing = aws.call("s3", "get_object", query=query, Bucket=bucket, Key="none")

    assert missing["error"] == "NoSuchKey"
    receiver.wait(spans=4)
    post = "POST /call/<name>/<operation>"
    assert spans(receiver) == [
        (post, "SERVER", "s1", "UNSET"),
        ("S3.CreateBucket", "CLIENT", "s1", "UNSET"),
        (post, "SERVER", "s1", "UNSET"),
        ("S3.GetObject", "CLIENT", "s1", "ERROR"),
    ]
    created, got = receiver.spans[1], receiver.spans[3]
    assert created.attributes["rpc.system"] == "aws-api"
    assert (created.attributes["rpc.service"], created.attributes["rpc.method"]) == ("S3", "CreateBucket")
    assert created.attributes["http.status_code"] == 200
    assert created.attributes["cloud.region"] == "us-east-1"
    assert (got.attributes["http.status_code"], got.attributes["error.type"]) == (404, "NoSuchKey")
    assert receiver.errors == []


def test_nothing_is_added_to_what_is_sent(run_service, receiver, aws_url):
    """Byte for byte, but for what differs between two runs anyway: the time, the signature and an id of the call."""
    target = Target()
    env = {**AWS, "AWS_URL": aws_url, "PYTHONHASHSEED": "0"}  # botocore lists a set in the user agent
    heads = []
    try:
        for bare in (True, False):
            service = run_service("python service.py", files={"service.py": SERVICE}, env=env, bare=bare)
            for query in (f"?url={target.url}", f"?aio&url={target.url}"):
                assert service.request("POST", f"/call/s3/head_bucket{query}", HEADERS, b'{"Bucket": "b"}').text == "{}"
                service.request("POST", f"/call/sqs/list_queues{query}", HEADERS, b"{}")
            presigned = service.request("POST", f"/presigned?url={target.url}", HEADERS, b'{"Bucket": "b", "Key": "k"}')
            assert json.loads(presigned.text)[0] == "fine"
            heads.append([normal(seen.head) for seen in target.seen])
            target.clear()
        assert heads[0] == heads[1]
        assert [head.split(b" ")[0] for head in heads[0]] == [b"HEAD", b"POST", b"HEAD", b"POST", b"GET"]
        assert all(b"AWS4-HMAC-SHA256" in head for head in heads[0][:4])
        assert b"Signature" in heads[0][4]
        receiver.wait(spans=10)
        names = [name for name, kind, _, _ in spans(receiver) if kind == "CLIENT"]
        assert names == ["S3.HeadBucket", "SQS.ListQueues", "S3.HeadBucket", "SQS.ListQueues", "GET"]
    finally:
        target.close()


def normal(head):
    head = re.sub(rb"(?i)(x-amz-date: |date=|amz-sdk-invocation-id: |Expires=)[\w-]+", rb"\1*", head)
    head = re.sub(rb"(?i)(signature=)[\w%]+", rb"\1*", head)
    return re.sub(rb"(us-east-1/|key/|key%2F)\d{8}", rb"\1*", head)


def test_messages_carry_the_ids_where_there_is_room(aws, receiver):
    queue = aws.queue("sent")
    mine = {"mine": {"DataType": "String", "StringValue": "yours"}}
    numbered = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)}
    own = {"x-highlight-request": {"DataType": "String", "StringValue": "s9/r9"}}
    send = {"QueueUrl": queue, "MessageBody": "m"}
    aws.call("sqs", "send_message", **send)
    aws.call("sqs", "send_message", **send, MessageAttributes=mine)
    aws.call("sqs", "send_message", **send, MessageAttributes=numbered)
    nine = {name: numbered[name] for name in list(numbered)[:9]}
    aws.call("sqs", "send_message", **send, MessageAttributes=nine)
    aws.call("sqs", "send_message", **send, MessageAttributes=own)
    aws.call("sqs", "send_message", query="?aio", **send)
    wrong = aws.call("sqs", "send_message", **send, MessageAttributes="wrong")
    assert wrong["error"] == "ParamValidationError"
    body = json.dumps(queue).encode()
    assert aws.service.request("POST", "/resource", HEADERS, body).text == "sent"

    receiver.wait(spans=16)
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    assert {(span.name, span.session) for span in sent} == {("send sent", "s1")}
    assert {span.attributes["messaging.system"] for span in sent} == {"aws_sqs"}
    assert len(receiver.spans) == 16
    both = [{"x-highlight-request": "s1/r1", "traceparent": parent(span)} for span in sent]
    assert [texts(message) for message in aws.receive(queue)] == [
        both[0],
        {"mine": "yours", **both[1]},
        dict.fromkeys(numbered, "x"),
        {**dict.fromkeys(nine, "x"), "x-highlight-request": "s1/r1"},
        {"x-highlight-request": "s9/r9", "traceparent": both[4]["traceparent"]},
        both[5],
        both[7],
    ]
    assert receiver.errors == []


def test_a_batch_carries_the_ids_where_its_size_allows(aws, receiver):
    queue = aws.queue("batches")
    whole = 262_144
    aws.call(
        "sqs", "send_message_batch", QueueUrl=queue, Entries=[{"Id": str(n), "MessageBody": str(n)} for n in range(2)]
    )
    aws.call("sqs", "send_message", QueueUrl=queue, MessageBody="x" * whole)
    entries = [{"Id": str(n), "MessageBody": "x" * (whole // 2)} for n in range(2)]
    aws.call("sqs", "send_message_batch", QueueUrl=queue, Entries=entries)
    assert "error" in aws.call("sqs", "send_message_batch", QueueUrl=queue, Entries="wrong")

    receiver.wait(spans=8)
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    assert [span.attributes.get("messaging.batch.message_count") for span in sent] == [2, None, 2, 0]
    ids = {"x-highlight-request": "s1/r1", "traceparent": parent(sent[0])}
    assert [texts(message) for message in aws.receive(queue)] == [ids, ids, {}, {}, {}]


DETAILS = ['{"order": 1.0}', " {}", '["a"]', "no JSON", '{"_highlight": 1}', '{"x": "' + "x" * 262_100 + '"}']


def test_an_event_carries_the_ids_in_its_detail_where_that_is_wanted(run_service, aws_url, consume, receiver):
    env = {**AWS, "AWS_URL": aws_url, "HIGHLIGHT_EVENTBRIDGE_DETAIL": "on"}
    aws = Aws(run_service("python service.py", files={"service.py": SERVICE}, env=env), aws_url)
    queue, events = aws.queue("events"), aws.client("events")
    events.put_rule(Name="all", EventPattern='{"source": ["shop"]}')
    arn = "arn:aws:sqs:us-east-1:123456789012:events"
    events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])
    entry = {"Source": "shop", "DetailType": "order"}
    for detail in DETAILS:
        aws.call("events", "put_events", Entries=[{**entry, "Detail": detail}])
    aws.call("events", "put_events", "?aio=1", Entries="wrong")
    aws.call("events", "put_events", Entries=[{**entry, "Detail": 7}])

    receiver.wait(spans=2 * len(DETAILS) + 4)
    put = [span for span in receiver.spans if span.name == "EventBridge.PutEvents"]
    bodies = [
        json.loads(message["Body"])
        for message in aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10, VisibilityTimeout=0)[
            "Messages"
        ]
    ]
    ids = [{"_highlight": {"x-highlight-request": "s1/r1", "traceparent": parent(span)}} for span in put]
    sent = [body["detail"] for body in bodies]
    assert sent[:2] == [{**ids[0], "order": 1.0}, ids[1]]
    assert sent[2:] == [["a"], {"_highlight": 1}, {"x": "x" * 262_100}]  # "no JSON" is refused

    receiver.clear()
    consume("batch", queue, 0)
    receiver.wait(spans=len(sent) + 1)
    assert [(span.name, span.session) for span in receiver.spans if span.parent_id][:2] == [
        ("process events", "s1"),
        ("process events", "s1"),
    ]


def test_a_topic_carries_the_ids_into_its_queues(aws, consume, receiver):
    sns = aws.client("sns")
    topic = sns.create_topic(Name="news")["TopicArn"]
    queues = [aws.queue("raw"), aws.queue("wrapped")]
    for queue, raw in zip(queues, ("true", "false"), strict=True):
        arn = f"arn:aws:sqs:us-east-1:123456789012:{queue.rpartition('/')[2]}"
        attributes = {"RawMessageDelivery": raw}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes)
    aws.call("sns", "publish", TopicArn=topic, Message="one")
    aws.call("sns", "publish_batch", TopicArn=topic, PublishBatchRequestEntries=[{"Id": "1", "Message": "two"}])
    aws.call("sns", "publish", PhoneNumber="+491700000000", Message="three")
    # An event has no attributes, and its detail is what its consumers validate.
    event = {"Source": "shop", "DetailType": "order", "Detail": "{}"}
    assert aws.call("events", "put_events", Entries=[event])["FailedEntryCount"] == 0

    receiver.wait(spans=8)
    assert [(span.name, span.kind) for span in receiver.spans if span.kind != "SERVER"] == [
        ("send news", "PRODUCER"),
        ("send news", "PRODUCER"),
        ("SNS.Publish", "CLIENT"),
        ("EventBridge.PutEvents", "CLIENT"),
    ]
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    raw = aws.client("sqs").receive_message(QueueUrl=queues[0], MessageAttributeNames=["All"])["Messages"]
    assert texts(raw[0]) == {"x-highlight-request": "s1/r1", "traceparent": parent(sent[0])}
    receiver.clear()
    consume("batch", queues[1], 0)
    receiver.wait(spans=3, logs=4)
    assert [(span.name, span.session, span.parent_id) for span in receiver.spans] == [
        ("process wrapped", "s1", ""),
        ("process wrapped", "s1", sent[0].span_id),
        ("process wrapped", "s1", sent[1].span_id),
    ]


def test_a_message_is_worked_on_under_its_ids(aws, consume, receiver):
    queue = aws.queue("orders")
    for session, body in (("s1", "good"), ("s2", "bad")):
        aws.call("sqs", "send_message", session, QueueUrl=queue, MessageBody=body)
    aws.client("sqs").send_message(QueueUrl=queue, MessageBody="from elsewhere")
    receiver.wait(spans=4)
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    receiver.clear()
    consume("one", queue, 3)

    receiver.wait(spans=5, logs=5)
    assert spans(receiver) == [
        ("process orders", "CONSUMER", "s1", "UNSET"),
        ("SQS.DeleteMessage", "CLIENT", "s1", "UNSET"),
        ("process orders", "CONSUMER", "s2", "UNSET"),
        ("process orders", "CONSUMER", None, "UNSET"),
        ("SQS.DeleteMessage", "CLIENT", None, "UNSET"),
    ]
    processed = [span for span in receiver.spans if span.kind == "CONSUMER"]
    assert [(span.trace_id, span.parent_id) for span in processed[:2]] == [(s.trace_id, s.span_id) for s in sent]
    assert told(receiver) == [
        ("working on good", "s1"),
        ("working on bad", "s2"),
        ("it failed", "s2"),
        ("working on from elsewhere", None),
        ("done", None),
    ]
    assert errors(receiver) == [("LookupError", "no such order", "s2")]


def test_aiobotocore_receives_as_well(aws, consume, receiver):
    queue = aws.queue("aio")
    for session in ("s1", "s2"):
        aws.call("sqs", "send_message", session, QueueUrl=queue, MessageBody="m")
    receiver.wait(spans=4)
    receiver.clear()
    consume("aio", queue, 2)

    receiver.wait(spans=2, logs=3)
    assert spans(receiver) == [("process aio", "CONSUMER", session, "UNSET") for session in ("s1", "s2")]
    assert told(receiver) == [("working on m", "s1"), ("working on m", "s2"), ("done", None)]


@pytest.mark.parametrize("way", ["batch", "resource"])
def test_a_batch_has_links_and_its_messages_their_own_contexts(aws, consume, receiver, way):
    queue = aws.queue(way)
    for session in ("s1", "s2"):
        aws.call("sqs", "send_message", session, QueueUrl=queue, MessageBody=session)
    receiver.wait(spans=4)
    sent = [span for span in receiver.spans if span.kind == "PRODUCER"]
    receiver.clear()
    consume(way, queue, 0)

    receiver.wait(spans=3, logs=4)
    assert spans(receiver) == [(f"process {way}", "CONSUMER", session, "UNSET") for session in (None, "s1", "s2")]
    links = [(link["trace_id"], link["span_id"]) for link in receiver.spans[0].links]
    assert links == [(span.trace_id, span.span_id) for span in sent]
    assert told(receiver) == [
        ("a batch of 2", None),
        ("working on s1", "s1"),
        ("working on s2", "s2"),
        ("done", None),
    ]


ASKED = [{}, {"MessageAttributeNames": ["mine"]}, {"MessageAttributeNames": ["m.*", "number"]}]


def test_the_application_gets_the_message_that_it_would_have_got(aws, consume, receiver):
    """Compared with a program without us, for a message that a program without us has sent."""
    mine = {
        "mine": {"DataType": "String.own", "StringValue": "y\u00fc"},
        "more": {"DataType": "Binary", "BinaryValue": b"\0\1"},
        "number": {"DataType": "Number", "StringValue": "7"},
    }
    ids = {"x-highlight-request": {"DataType": "String", "StringValue": "s1/r1"}}
    sqs = aws.client("sqs")
    outcomes = []
    for under_agent, added in ((False, {}), (True, ids)):
        asked = []
        for number, names in enumerate(ASKED):
            asked.append({**names, "QueueUrl": aws.queue(f"unchanged-{under_agent}-{number}")})
            attributes = {**mine, **added}
            sqs.send_message(QueueUrl=asked[-1]["QueueUrl"], MessageBody="m", MessageAttributes=attributes)
        outcomes.append(consume("ask", asked[0]["QueueUrl"], 0, json.dumps(asked), under_agent=under_agent))
    assert outcomes[1] == outcomes[0]
    assert [sorted(message.get("MessageAttributes", ())) for message in outcomes[0]] == [
        [],
        ["mine"],
        ["mine", "more", "number"],
    ]
    receiver.wait(spans=len(ASKED))
    assert [(span.kind, span.session) for span in receiver.spans] == [("CONSUMER", "s1")] * len(ASKED)


HOSTILE = """
import json, logging, os, sys
import boto3
from hostile import NAMES, told
from sent import SENT

sqs = boto3.client("sqs", endpoint_url=os.environ["AWS_URL"])
sns = boto3.client("sns", endpoint_url=os.environ["AWS_URL"])
queues = {
    role: sqs.create_queue(QueueName=os.environ["QUEUE"] + role)["QueueUrl"] for role in ("receive", "bare")
}
topic = sns.create_topic(Name=os.environ["QUEUE"])["TopicArn"]
log = logging.getLogger("app")

def attributes(pairs):
    types = {str: ("String", "StringValue"), bytes: ("Binary", "BinaryValue"), int: ("Number", "StringValue")}
    found = {}
    for name, value in pairs:
        kind, key = types[type(value)]
        found[name] = {"DataType": kind, key: value if kind != "Number" else str(value)}
    return found

def send(number, pairs):
    if os.environ["WAY"] == "sns":
        sns.publish(TopicArn=topic, Message=str(number), MessageAttributes=attributes(pairs))
        return
    for queue in queues.values():
        sqs.send_message(QueueUrl=queue, MessageBody=str(number), MessageAttributes=attributes(pairs))

if sys.argv[1] == "send":
    if os.environ["WAY"] == "sns":
        for queue in queues.values():
            arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    for number, _, pairs, _ in SENT:
        send(number, pairs)
else:
    left = len(SENT)
    while left:
        asked = {"MessageAttributeNames": json.loads(os.environ["ASKED"]), "WaitTimeSeconds": 1}
        for message in sqs.receive_message(QueueUrl=queues[sys.argv[1]], **asked).get("Messages", ()):
            body = message["Body"]
            seen = [message.get("MessageAttributes")]
            if body.startswith("{"):
                notice = json.loads(body)
                body, seen = notice["Message"], [*seen, notice.get("MessageAttributes")]
            log.warning(body)
            print(told(body, seen))
            left -= 1
"""


@pytest.mark.parametrize(("way", "asked"), [("sqs", ["All"]), ("sqs", []), ("sns", [])])
def test_hostile_attributes_are_delivered_and_the_consumer_goes_on(run_python, receiver, aws_url, way, asked):
    queue = f"hostile-{way}-{len(asked)}-"
    env = {**AWS, "AWS_URL": aws_url, "WAY": way, "QUEUE": queue, "ASKED": json.dumps(asked)}
    # Names of another case are other attributes, an empty value is refused, and a quarter of a megabyte is the limit.
    without = ("another case", "empty", "a number")
    if botocore.session.get_session().get_service_model("sqs").metadata["protocol"] == "query":
        without += ("a null byte", "steers a terminal")  # older ones ask for XML, which has no such characters
    hostile.exchange(
        run_python,
        receiver,
        HOSTILE,
        f"process {queue}receive",
        "str bytes int",
        env,
        bare=True,
        longest=200_000,
        without=without,
    )
