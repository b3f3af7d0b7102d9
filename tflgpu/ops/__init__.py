"""What each operator means on the CPU: its shapes, its types, its arithmetic. Importing this registers them all."""

# One line a family.
from tflgpu.ops import audio as audio
from tflgpu.ops import batch_matmul as batch_matmul
from tflgpu.ops import blocks as blocks
from tflgpu.ops import control as control
from tflgpu.ops import conv as conv
from tflgpu.ops import depthwise as depthwise
from tflgpu.ops import detection as detection
from tflgpu.ops import diagonal as diagonal
from tflgpu.ops import elementwise as elementwise
from tflgpu.ops import embedding as embedding
from tflgpu.ops import fft as fft
from tflgpu.ops import fully_connected as fully_connected
from tflgpu.ops import hash_table as hash_table
from tflgpu.ops import indexing as indexing
from tflgpu.ops import joins as joins
from tflgpu.ops import lstm as lstm
from tflgpu.ops import mediapipe as mediapipe
from tflgpu.ops import movement as movement
from tflgpu.ops import normalization as normalization
from tflgpu.ops import padding as padding
from tflgpu.ops import random as random
from tflgpu.ops import reduce as reduce
from tflgpu.ops import reduce_window as reduce_window
from tflgpu.ops import resize as resize
from tflgpu.ops import rnn as rnn
from tflgpu.ops import segment as segment
from tflgpu.ops import shape as shape
from tflgpu.ops import softmax as softmax
from tflgpu.ops import sorting as sorting
from tflgpu.ops import sparse as sparse
from tflgpu.ops import stablehlo_indexing as stablehlo_indexing
from tflgpu.ops import strided_slice as strided_slice
from tflgpu.ops import strings as strings
from tflgpu.ops import svdf as svdf
from tflgpu.ops import variables as variables
