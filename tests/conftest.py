"""What every test shares."""

from hypothesis import settings

settings.register_profile("kofn", deadline=None, print_blob=True)
settings.load_profile("kofn")
