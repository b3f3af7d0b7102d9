"""What each operator means on the CPU: its shapes, its types, its arithmetic."""

from tflgpu.ops.flex import MODULES as FLEX

MODULES = {
    "audio.audio": "AudioSpectrogram Mfcc",
    "audio.fft": "FlexFFT FlexIFFT FlexRFFT FlexIRFFT FlexFFT2D FlexIFFT2D FlexRFFT2D FlexIRFFT2D"
    " RFFT2D REAL IMAG COMPLEX_ABS",
    "control.control": "IF WHILE CALL_ONCE STABLEHLO_COMPOSITE STABLEHLO_CASE",
    "convolution.conv": "CONV_2D",
    "convolution.conv_3d": "CONV_3D CONV_3D_TRANSPOSE",
    "convolution.depthwise": "DEPTHWISE_CONV_2D",
    "convolution.pool": "MAX_POOL_2D AVERAGE_POOL_2D L2_POOL_2D",
    "convolution.transpose_conv": "TRANSPOSE_CONV Convolution2DTransposeBias",
    "convolution.unpool": "MaxPoolingWithArgmax2D MaxPoolWithArgmax MaxUnpooling2D DenseImageWarp",
    "custom.detection": "NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 TFLite_Detection_PostProcess",
    "custom.hadamard": "aeq.hadamard_rotation",
    "custom.mediapipe": "TransformTensor TransformTensorBilinear TransformLandmarks Landmarks2TransformMatrix",
    "elementwise.activations": "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU ELU GELU HARD_SWISH LOGISTIC TANH PRELU",
    "elementwise.arithmetic": "ADD SUB MUL DIV SQUARED_DIFFERENCE",
    "elementwise.cast": "CAST BITCAST",
    "elementwise.comparison": "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL",
    "elementwise.power": "POW",
    "elementwise.selection": "SELECT SELECT_V2",
    "indexing.embedding": "EMBEDDING_LOOKUP EMBEDDING_LOOKUP_SPARSE HASHTABLE_LOOKUP LSH_PROJECTION",
    "indexing.indexing": "GATHER GATHER_ND ONE_HOT DYNAMIC_UPDATE_SLICE REVERSE_SEQUENCE",
    "indexing.scatter": "SCATTER_ND SPARSE_TO_DENSE",
    "indexing.segment": "SEGMENT_SUM UNSORTED_SEGMENT_SUM UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX"
    " UNSORTED_SEGMENT_MIN",
    "indexing.sorting": "ARG_MAX ARG_MIN TOPK_V2 UNIQUE WHERE BUCKETIZE CUMSUM",
    "indexing.stablehlo_indexing": "STABLEHLO_GATHER STABLEHLO_SCATTER",
    "matmul.batch_matmul": "BATCH_MATMUL",
    "matmul.fully_connected": "FULLY_CONNECTED",
    "movement.blocks": "SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
    "movement.diagonal": "MATRIX_DIAG MATRIX_SET_DIAG",
    "movement.dilate": "DILATE",
    "movement.joins": "CONCATENATION PACK UNPACK SPLIT SPLIT_V",
    "movement.movement": "TRANSPOSE SLICE REVERSE_V2 BROADCAST_TO TILE SPACE_TO_DEPTH DEPTH_TO_SPACE",
    "movement.padding": "PAD PADV2 MIRROR_PAD STABLEHLO_PAD",
    "movement.resize": "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    "movement.shape": "SHAPE RANK RESHAPE SQUEEZE EXPAND_DIMS FILL RANGE BROADCAST_ARGS",
    "movement.sparse": "DENSIFY",
    "movement.strided_slice": "STRIDED_SLICE",
    "normalization.log_softmax": "LOG_SOFTMAX",
    "normalization.normalization": "L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
    "normalization.softmax": "SOFTMAX",
    "quantization.quantize": "QUANTIZE DEQUANTIZE FAKE_QUANT NumericVerify",
    "recurrent.lstm": "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM",
    "recurrent.rnn": "RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN",
    "recurrent.svdf": "SVDF",
    "reduction.reduce": "MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL",
    "reduction.reduce_window": "REDUCE_WINDOW STABLEHLO_REDUCE_WINDOW",
    "state.hash_table": "HASHTABLE HASHTABLE_IMPORT HASHTABLE_FIND HASHTABLE_SIZE",
    "state.random": "RANDOM_UNIFORM RANDOM_STANDARD_NORMAL MULTINOMIAL STABLEHLO_RNG_BIT_GENERATOR",
    "state.variables": "VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE",
    "text.strings": "SKIP_GRAM",
}
MODULES |= {f"flex.{module}": " ".join(f"Flex{name}" for name in names.split()) for module, names in FLEX.items()}
"""The operators of each module, which is imported when one of them is first asked for."""

OTHERS = "elementwise.elementwise"
"""The module of all other operators."""
