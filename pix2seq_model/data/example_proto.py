"""The `tf.train.Example` message without TensorFlow.

The workers that write records need one small message, not the half gigabyte and several seconds
that importing TensorFlow costs each of their processes. The message is described here as in
`tensorflow/core/example/{example,feature}.proto`, in a descriptor pool of its own, so that it
never meets TensorFlow's registration of the same names. A test compares the bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto
_LISTS = {
    "bytes_list": ("BytesList", _FIELD.TYPE_BYTES),
    "float_list": ("FloatList", _FIELD.TYPE_FLOAT),
    "int64_list": ("Int64List", _FIELD.TYPE_INT64),
}


def _field(name: str, number: int, kind: str | int, **more: Any) -> dict[str, Any]:
    """A field of a message: of one of our messages where `kind` is its name."""
    if isinstance(kind, str):
        more |= {"type_name": f".tensorflow.{kind}"}
        kind = _FIELD.TYPE_MESSAGE
    field = {"name": name, "number": number, "type": kind, "label": _FIELD.LABEL_OPTIONAL}
    return {**field, **more}


def _example_class() -> Any:
    repeated = {"label": _FIELD.LABEL_REPEATED}
    kinds = [
        _field(name, number, message, oneof_index=0)
        for number, (name, (message, _)) in enumerate(_LISTS.items(), start=1)
    ]
    entry = {
        "name": "FeatureEntry",
        "options": {"map_entry": True},
        "field": [_field("key", 1, _FIELD.TYPE_STRING), _field("value", 2, "Feature")],
    }
    feature = _field("feature", 1, "Features.FeatureEntry", **repeated)
    file = descriptor_pb2.FileDescriptorProto(
        name="pix2seq_model/example.proto",
        package="tensorflow",
        syntax="proto3",
        message_type=[
            *(
                {"name": name, "field": [_field("value", 1, value_type, **repeated)]}
                for name, value_type in _LISTS.values()
            ),
            {"name": "Feature", "oneof_decl": [{"name": "kind"}], "field": kinds},
            {"name": "Features", "nested_type": [entry], "field": [feature]},
            {"name": "Example", "field": [_field("features", 1, "Features")]},
        ],
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()


def encode(features: Mapping[str, tuple[str, Iterable[Any]]]) -> bytes:
    """A serialized example; the same features give the same bytes.

    Args:
      features: by name "bytes", "float" or "int64", and the values.
    """
    example = Example()
    for name, (kind, values) in features.items():
        getattr(example.features.feature[name], f"{kind}_list").value.extend(values)
    # Deterministic: a map's entries are otherwise written in the order of its hash table.
    return example.SerializeToString(deterministic=True)
