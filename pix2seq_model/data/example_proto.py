"""The `tf.train.Example` message without TensorFlow.

The workers that write records need one small message, not the half gigabyte and several seconds
that importing TensorFlow costs each of their processes. The message is described here as in
`tensorflow/core/example/{example,feature}.proto`, in a descriptor pool of its own, so that it
never meets TensorFlow's registration of the same names. A test holds the bytes equal.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FIELD = descriptor_pb2.FieldDescriptorProto


def _add_list(file: descriptor_pb2.FileDescriptorProto, name: str, value_type: int) -> None:
    message = file.message_type.add(name=name)
    message.field.add(name="value", number=1, type=value_type, label=_FIELD.LABEL_REPEATED)


def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="pix2seq_model/example.proto", package="tensorflow", syntax="proto3"
    )
    _add_list(file, "BytesList", _FIELD.TYPE_BYTES)
    _add_list(file, "FloatList", _FIELD.TYPE_FLOAT)
    _add_list(file, "Int64List", _FIELD.TYPE_INT64)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    kinds = ("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List")
    for number, (field, type_name) in enumerate(kinds, start=1):
        feature.field.add(
            name=field,
            number=number,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".tensorflow.{type_name}",
            label=_FIELD.LABEL_OPTIONAL,
            oneof_index=0,
        )

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    entry.field.add(
        name="value",
        number=2,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".tensorflow.Feature",
        label=_FIELD.LABEL_OPTIONAL,
    )
    features.field.add(
        name="feature",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".tensorflow.Features.FeatureEntry",
        label=_FIELD.LABEL_REPEATED,
    )

    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        type=_FIELD.TYPE_MESSAGE,
        type_name=".tensorflow.Features",
        label=_FIELD.LABEL_OPTIONAL,
    )

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


Example = _example_class()
