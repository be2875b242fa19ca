"""The variants of the paper at tiny scale: trained, evaluated and compared."""
