"""The files that commands write."""

EXTENSIONS = ("fits", "ecsv", "vot", "csv")
BOTH = {
    *(f"{table}.{end}" for table in ("catalog", "components") for end in EXTENSIONS),
    *("mask.fits", "model.fits", "residual.fits", "regions.reg", "regions.crtf", "report.html"),
    "run.json",
}
DETECTED = BOTH | {f"moment{order}.fits" for order in range(3)}
DENOISED = BOTH | {"denoised.fits", "uncertainty.fits", "mask_diffuse.fits"}
