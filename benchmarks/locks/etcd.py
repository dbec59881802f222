"""etcd's own lock service (`v3lockpb.Lock`), by gRPC: the server lets a call wait, and answers when it is its turn.

No Python client of etcd is kept up that has this service, so the calls are made with grpcio and protobuf alone.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from benchmarks.contest import LEASE_S, AsyncHold, Places

_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_FIELDS: Mapping[str, Mapping[str, tuple[int, int]]] = {  # those that are used; protobuf passes over all others
    "LeaseGrantRequest": {"TTL": (1, _INT64)},
    "LeaseGrantResponse": {"ID": (2, _INT64)},
    "LockRequest": {"name": (1, _BYTES), "lease": (2, _INT64)},
    "LockResponse": {"key": (2, _BYTES)},
    "UnlockRequest": {"key": (1, _BYTES)},
    "UnlockResponse": {},
}


@asynccontextmanager
async def lock_service(places: Places) -> AsyncIterator[AsyncHold]:
    """Hold locks of the lock service, all over one connection.

    Whoever waits has a lease of its own, because the service tells two waiters of one name apart by their leases alone.
    """
    messages = _messages()
    spare: list[int] = []
    async with grpc.aio.insecure_channel(places["etcd"]) as channel:

        def call(service: str, method: str) -> Any:
            return channel.unary_unary(
                f"/{service}/{method}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=messages[f"{method}Response"].FromString,
            )

        lock, unlock = call("v3lockpb.Lock", "Lock"), call("v3lockpb.Lock", "Unlock")
        grant = call("etcdserverpb.Lease", "LeaseGrant")

        @asynccontextmanager
        async def hold(key: str) -> AsyncIterator[None]:
            lease = spare.pop() if spare else (await grant(messages["LeaseGrantRequest"](TTL=LEASE_S))).ID
            held = await lock(messages["LockRequest"](name=key.encode(), lease=lease))
            yield
            await unlock(messages["UnlockRequest"](key=held.key))
            spare.append(lease)

        yield hold


def _messages() -> dict[str, Any]:
    """Make the classes of etcd's messages, with the fields above."""
    file = descriptor_pb2.FileDescriptorProto(name="etcd.proto", package="etcd", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            message.field.add(
                name=field, number=number, type=kind, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"etcd.{name}")) for name in _FIELDS}
