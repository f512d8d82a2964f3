"""A script of an operator: lets one visitor in, then asks how many are inside; signed by botocore or aws-requests-auth."""

import json
import sys
from urllib.parse import urlsplit

import requests
from aws_requests_auth.aws_auth import AWSRequestsAuth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

library, base, key_id, secret = sys.argv[1:]
REGION, SERVICE = "eu-west-1", "execute-api"


def by_botocore(method, url, body):
    request = AWSRequest(method=method, url=url, data=body, headers={"content-type": "application/json"})
    SigV4Auth(Credentials(key_id, secret), SERVICE, REGION).add_auth(request)
    return requests.request(method, url, data=body, headers=dict(request.headers), timeout=30)


def by_aws_requests_auth(method, url, body):
    auth = AWSRequestsAuth(
        aws_access_key=key_id,
        aws_secret_access_key=secret,
        aws_host=urlsplit(url).netloc,
        aws_region=REGION,
        aws_service=SERVICE,
    )
    return requests.request(method, url, data=body, auth=auth, timeout=30)


call = {"botocore": by_botocore, "aws-requests-auth": by_aws_requests_auth}[library]
step = json.dumps({"event_id": "Sample", "increment_by": 1})
for answer in (
    call("POST", f"{base}/private/increment_serving_counter", step),
    call("GET", f"{base}/private/num_active_tokens?event_id=Sample", None),
):
    print(answer.status_code, json.dumps(answer.json(), separators=(",", ":")))
