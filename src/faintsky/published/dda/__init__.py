"""The deep denoising autoencoder (DDA) of Gheller & Vazza (2021): network, data, training and use."""

from faintsky.registry import DENOISERS, NETWORKS

NETWORKS.add("dda", "faintsky.published.dda.network:Dda")
DENOISERS.add("dda", "faintsky.published.dda.denoise:make_denoiser")
