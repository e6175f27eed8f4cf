"""Reports: pages and figures on detections, denoised images, injected sources and training.

This room knows results and data in memory. It writes no files except the figure of a training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faintsky.system.lazy import lazy

if TYPE_CHECKING:
    from faintsky.report.curves import recovery_figure, training_figure
    from faintsky.report.explorer import explore
    from faintsky.report.layers import image_layers
    from faintsky.report.noise import cube_verdict, histogram, residual_verdict
    from faintsky.report.page import Section, render
    from faintsky.report.pages import (
        denoising_report,
        detection_report,
        image_report,
        injection_report,
    )
    from faintsky.report.spectra import source_drawing

lazy(__name__)
