"""Amazon's services, as moto plays them: cloud.py serve | prepare URL | alarm URL STATE | events URL | secret URL NAME TEXT
    | tables URL | forget URL | documents URL
"""

import io
import json
import sys
import threading

import boto3
import cbor2
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

QUEUE = "told"
ALARM = "shop-latency"
CLOUDWATCH = "/service/GraniteServiceVersion20100801/operation/"


def client(service, url):
    return boto3.client(
        service, endpoint_url=url, region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def in_cbor(name, value):
    """The JSON of CloudWatch's answers in CBOR, where times are times."""
    if isinstance(value, dict):
        return {key: in_cbor(key, member) for key, member in value.items()}
    if isinstance(value, list):
        return [in_cbor(name, member) for member in value]
    return cbor2.CBORTag(1, value) if name.endswith("Timestamp") else value


def speaking_cbor(moto):
    """Today's SDKs speak CBOR to CloudWatch, which moto does not: here it is said in the JSON that it understands."""

    def application(environ, start_response):
        if not environ["PATH_INFO"].startswith(CLOUDWATCH):
            return moto(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.dumps(cbor2.loads(environ["wsgi.input"].read(length))).encode()
        operation = environ["PATH_INFO"].removeprefix(CLOUDWATCH)
        environ |= {"PATH_INFO": "/", "REQUEST_URI": "/", "RAW_URI": "/", "CONTENT_LENGTH": str(len(body))}
        environ |= {"HTTP_X_AMZ_TARGET": f"GraniteServiceVersion20100801.{operation}"}
        environ |= {"CONTENT_TYPE": "application/x-amz-json-1.0", "wsgi.input": io.BytesIO(body)}
        answer = {}
        told = b"".join(moto(environ, lambda status, headers, _=None: answer.update(status=status)))
        headers = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        start_response(answer["status"], headers)
        return [cbor2.dumps(in_cbor("", json.loads(told)))]

    return application


def leading_somewhere(moto):
    """A bus takes events as soon as it is there, and forgets those that no rule leads on. Here it asks for patience in
    between."""
    lock, seen = threading.Lock(), set()

    def application(environ, start_response):
        call = environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("AWSEvents.")
        if call not in ("CreateEventBus", "PutTargets", "PutEvents"):
            return moto(environ, start_response)
        with lock:
            if call == "PutEvents" and "CreateEventBus" in seen and "PutTargets" not in seen:
                start_response("503 Service Unavailable", [("content-type", "application/x-amz-json-1.1")])
                return [b'{"__type": "ServiceUnavailableException"}']
            seen.add(call)
            return list(moto(environ, start_response))

    return application


def serve():
    """Serves until it is killed."""
    moto = leading_somewhere(speaking_cbor(DomainDispatcherApplication(create_backend_app)))
    server = make_server("127.0.0.1", 0, moto, threaded=True)
    print(f"Amazon is at http://127.0.0.1:{server.port}", flush=True)
    server.serve_forever()


def prepare(url):
    """A bus whose events of the waiting room go to a queue."""
    queue = client("sqs", url).create_queue(QueueName=QUEUE)["QueueUrl"]
    arn = f"arn:aws:sqs:eu-central-1:123456789012:{QUEUE}"
    events = client("events", url)
    events.create_event_bus(Name="queue")
    pattern = json.dumps({"source": ["custom.waitingroom"]})
    events.put_rule(Name="all", EventBusName="queue", EventPattern=pattern, State="ENABLED")
    events.put_targets(Rule="all", EventBusName="queue", Targets=[{"Id": "queue", "Arn": arn}])
    print(queue)


def alarm(url, state):
    """Makes the alarm, if need be, and puts it into a state."""
    cloudwatch = client("cloudwatch", url)
    if not cloudwatch.describe_alarms(AlarmNames=[ALARM])["MetricAlarms"]:
        cloudwatch.put_metric_alarm(
            AlarmName=ALARM, MetricName="Latency", Namespace="Shop", Statistic="Average", Period=60,
            EvaluationPeriods=1, Threshold=1.0, ComparisonOperator="GreaterThanThreshold",
        )
    cloudwatch.set_alarm_state(AlarmName=ALARM, StateValue=state, StateReason="a test says so")


def events(url):
    """Takes what is in the queue, and prints each event on a line."""
    sqs = client("sqs", url)
    queue = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            print(json.dumps(json.loads(message["Body"]), sort_keys=True))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def secret(url, name, text):
    """Keeps a secret, and prints its ARN."""
    print(client("secretsmanager", url).create_secret(Name=name, SecretString=text)["ARN"], end="")


def tables(url):
    """Prints of each table whether it can be brought back, whether its items end, and how it is paid."""
    dynamodb = client("dynamodb", url)
    for name in sorted(dynamodb.list_tables()["TableNames"]):
        backups = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        end = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"].get("AttributeName", "-")
        table = dynamodb.describe_table(TableName=name)["Table"]
        paid, sealed = table["BillingModeSummary"]["BillingMode"], table["SSEDescription"]["Status"]
        print(name, recovery, end, paid, sealed)


def forget(url):
    """Takes from the tables that they can be brought back."""
    dynamodb = client("dynamodb", url)
    for name in dynamodb.list_tables()["TableNames"]:
        off = {"PointInTimeRecoveryEnabled": False}
        dynamodb.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=off)


def documents(url):
    """Prints the names of the documents."""
    items = client("dynamodb", url).scan(TableName="anteroom-Documents")["Items"]
    print(*sorted(item["document"]["S"] for item in items))


if __name__ == "__main__":
    commands = [serve, prepare, alarm, events, secret, tables, forget, documents]
    {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
