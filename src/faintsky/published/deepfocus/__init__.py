"""DeepFocus (Delli Veneri et al. 2022): its six logical steps, one file each."""
