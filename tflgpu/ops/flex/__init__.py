"""TensorFlow's own operators, which its converter leaves in a model as custom operators called Flex…, in NumPy."""

MODULES = {
    "boxes": "CombinedNonMaxSuppression",
    "checkpoint": "Restore Save",
    "colors": "AdjustContrastv2 AdjustHue AdjustSaturation HSVToRGB RGBToHSV",
    "counting": "Bincount Cumprod DenseBincount InTopKV2 TensorScatterAdd TensorScatterMax TensorScatterMin "
    "TensorScatterSub TensorScatterUpdate UniqueWithCounts",
    "ctc": "CTCBeamSearchDecoder CTCGreedyDecoder",
    "elementwise": "Abs Add AddV2 Atan Atan2 BitwiseAnd BitwiseOr BitwiseXor Ceil Complex Conj Cos Cosh Div "
    "DivNoNan EluGrad Erf Exp Expm1 Floor FloorDiv FloorMod Inv InvGrad Invert LeakyReluGrad "
    "LeftShift Log Log1p Maximum Minimum Mul MulNoNan Neg Pow RealDiv Reciprocal ReciprocalGrad "
    "Relu Relu6Grad ReluGrad RightShift Rint Rsqrt RsqrtGrad SeluGrad Sigmoid SigmoidGrad Sign Sin "
    "Sinh Softplus SoftplusGrad Softsign SoftsignGrad Sqrt SqrtGrad Square SquaredDifference Sub "
    "Tan Tanh TanhGrad TruncateDiv Xlog1py Xlogy",
    "gradients": "AvgPoolGrad BiasAddGrad Conv2DBackpropFilter Conv2DBackpropInput "
    "DepthwiseConv2dNativeBackpropFilter DepthwiseConv2dNativeBackpropInput MaxPoolGrad "
    "SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits",
    "images": "CropAndResize ImageProjectiveTransformV2 ImageProjectiveTransformV3 ResizeBicubic",
    "linear_algebra": "Cholesky MatrixDeterminant MatrixDiagPartV3 MatrixInverse Qr",
    "movement": "StridedSlice",
    "ragged": "RaggedTensorToTensor SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum SparseTensorDenseMatMul",
    "random": "StatelessRandomGetKeyCounter StatelessRandomNormalV2 StatelessRandomUniformV2",
    "strings": "AsString PrintV2 RegexReplace StaticRegexReplace StringFormat StringJoin StringLength StringLower "
    "StringSplitV2 StringStrip StringToHashBucketFast StringToNumber StringUpper UnicodeDecode",
    "tensor_list": "EmptyTensorList TensorListFromTensor TensorListGetItem TensorListLength TensorListPopBack "
    "TensorListPushBack TensorListReserve TensorListResize TensorListSetItem TensorListStack",
    "windows": "AvgPool3D Dilation2D ExtractImagePatches MaxPool3D MaxPoolWithArgmax",
}
"""The operators of each module, without their Flex, as in `tflgpu.ops.MODULES`."""
