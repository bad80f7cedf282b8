"""A gRPC client without a .proto of Gantry's: everything it knows comes from the server's reflection.

Usage: session.py ADDRESS FOLDER, where FOLDER has ca.crt and admin/tls.{crt,key}.
Creates a Deployment from Kubernetes JSON, reads it back as Kubernetes JSON, watches it, and prints "ok".
"""

import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "gantry.api.v1.Resources"
DEADLINE = 30

DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "from-python", "namespace": "default"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "from-python"}},
        "template": {
            "metadata": {"labels": {"app": "from-python"}},
            "spec": {"containers": [{"name": "c", "image": "hello:1", "resources": {"requests": {"cpu": "100m"}}}]},
        },
    },
}


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(address, folder):
    credentials = grpc.ssl_channel_credentials(
        read(f"{folder}/ca.crt"), read(f"{folder}/admin/tls.key"), read(f"{folder}/admin/tls.crt")
    )
    with grpc.secure_channel(address, credentials) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        for service in (SERVICE, "grpc.health.v1.Health"):
            assert service in services, f"{service} is not among {services}"
        pool = DescriptorPool(database)
        methods = pool.FindServiceByName(SERVICE).methods_by_name

        def request(name, content):
            return json_format.ParseDict(content, GetMessageClass(methods[name].input_type)(), descriptor_pool=pool)

        def serializers(name):
            reply = GetMessageClass(methods[name].output_type)
            return {
                "request_serializer": lambda message: message.SerializeToString(),
                "response_deserializer": reply.FromString,
            }

        def call(name, content):
            method = channel.unary_unary(f"/{SERVICE}/{name}", **serializers(name))
            reply = method(request(name, content), timeout=DEADLINE)
            return json_format.MessageToDict(reply, descriptor_pool=pool)

        created = call("Create", {"object": {"json": DEPLOYMENT}})["object"]["json"]
        assert created["kind"] == "Deployment" and created["metadata"]["uid"], created

        where = {"resource": "deployments.apps", "namespace": "default", "name": "from-python"}
        found = call("Get", {**where, "view": "VIEW_JSON"})["object"]["json"]
        assert found["apiVersion"] == "apps/v1", found
        assert found["metadata"]["generation"] == 1, "a number, not a string, as in Kubernetes"
        container = found["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["requests"]["cpu"] == "100m", container
        assert container["imagePullPolicy"] == "IfNotPresent", "defaults are filled in"

        watch = channel.unary_stream(f"/{SERVICE}/Watch", **serializers("Watch"))
        stream = watch(
            request("Watch", {"resource": "deployments.apps", "namespace": "default", "view": "VIEW_JSON"}),
            timeout=DEADLINE,
        )
        seen = []
        for reply in stream:
            for event in json_format.MessageToDict(reply, descriptor_pool=pool).get("events", []):
                name = event.get("object", {}).get("json", {}).get("metadata", {}).get("name")
                if name == "from-python":
                    seen.append(event["type"])
                    if event["type"] == "ADDED":
                        call("Delete", where)
            if "DELETED" in seen:
                break
        stream.cancel()
        assert seen[0] == "ADDED" and seen[-1] == "DELETED", seen

        try:
            call("Get", where)
            raise AssertionError("it is still there")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.NOT_FOUND, error
            assert error.details() == 'deployments.apps "from-python" not found', error.details()
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
