"""Rasters of science and mapping: any bands, pages and sizes, read by windows through tifffile and rasterio."""
