"""OUT.npz ANNOTATIONS.xml: the masks of CVAT's XML, by datumaro."""

import sys

import datumaro
import numpy as np

data = datumaro.Dataset.import_from(sys.argv[2], "cvat")
masks = [a.image for item in data for a in item.annotations if a.type == datumaro.AnnotationType.mask]
np.savez(sys.argv[1], **{str(i): mask for i, mask in enumerate(masks)})
