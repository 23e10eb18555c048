#!/bin/sh
# Builds TensorRT engines from the ONNX files of this bundle, on the device that is to run them. Untried: what TensorRT
# refuses is known from its documentation alone. Add --fp16 once the fp32 engines give the masks that you expect.
set -eu
cd "$(dirname "$0")/.."
trtexec --onnx=@encoder.path@ --saveEngine=jetson/encoder.plan \
  --minShapes=@encoder.in.pixel_values.name@:1x3x@SIDE@x@SIDE@ \
  --optShapes=@encoder.in.pixel_values.name@:1x3x@SIDE@x@SIDE@ \
  --maxShapes=@encoder.in.pixel_values.name@:1x3x@SIDE@x@SIDE@
trtexec --onnx=@decoder.path@ --saveEngine=jetson/decoder.plan \
  --minShapes=@decoder.in.point_coords.name@:1x1x2,@decoder.in.point_labels.name@:1x1 \
  --optShapes=@decoder.in.point_coords.name@:1x2x2,@decoder.in.point_labels.name@:1x2 \
  --maxShapes=@decoder.in.point_coords.name@:1x16x2,@decoder.in.point_labels.name@:1x16
