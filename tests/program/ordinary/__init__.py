"""Ordinary PyTorch programs, small: functions of the module that is called torch, to the numbers they end with."""
