"""Reports: pages and figures on detections, denoised images, injected sources and training.

This room knows results and data in memory. It writes no files except the figure of a training.
"""

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.report.explorer import explore
    from faintsky.report.layers import image_layers
    from faintsky.report.noise import doubts, histogram, residual_verdict
    from faintsky.report.pages import (
        Section,
        denoising_report,
        detection_report,
        image_report,
        injection_report,
        recovery_figure,
        render,
        training_figure,
    )

lazy(__name__)
