"""Writes the files in onnx/ with the onnx package: a model with fields of every kind, by this program's name and by another."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

folder = Path(__file__).parent / "onnx"
folder.mkdir(exist_ok=True)
weight = helper.make_tensor("weight", TensorProto.FLOAT, [1, 3, 1, 1], [0.5, 1.5, -2.0])
nodes = [
    helper.make_node("Conv", ["images", "weight"], ["conv"], "conv", kernel_shape=[1, 1]),
    helper.make_node("LeakyRelu", ["conv"], ["y"], "relu", alpha=0.1),
]
images, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size, 8, 8]) for name, size in (("images", 3), ("y", 1)))
graph = helper.make_graph(nodes, "graph", [images], [y], [weight])
for producer in "protem", "pytorch":
    model = helper.make_model(graph, producer_name=producer, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)
    helper.set_model_props(model, {"image_size": "8"})
    onnx.save(model, folder / f"{producer}.onnx")
