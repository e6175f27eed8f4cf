"""Files and foreign objects in, files out.

This room knows images, cubes, their companions, catalogues and run folders, but no methods. Specific
warnings of third-party readers are filtered here.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.io.job import Job, OutputFolder, plain, provenance, write_json
    from faintsky.io.maps import KINDS, RESULTS, FitsMaps
    from faintsky.io.opening import open_cube, open_data, open_image, open_image_or_cube
    from faintsky.io.sources import quiet_reading
    from faintsky.io.writing import header_like, save_like, write_fits, write_regions

lazy(__name__)
