"""Scientific and geographic rasters, with any bands, pages and size, read by windows with tifffile and rasterio."""
