"""Downloads daily candles from vendors: vendors.py lists them, one file each holds their code.

download.py writes what they bring into the folder of candles.
"""
