"""Short names of types that are written in many signatures."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
"""Of any precision."""
Array32 = NDArray[np.float32]
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.int64]
Index = NDArray[np.intp]
"""Places in other arrays."""
Labels = NDArray[np.int32]
"""Numbers of regions or objects, 0 outside; or other integers of this size."""
