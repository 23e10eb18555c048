#!/bin/sh
# Builds TensorRT engines from the ONNX files of this bundle; run it on the target device. Untested: TensorRT's limits are
# only known from its documentation. Add --fp16 once the fp32 engines give the expected masks.
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
