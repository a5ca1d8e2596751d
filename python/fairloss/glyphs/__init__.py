"""Han characters drawn by real typefaces: many classes, a natural long tail, free fonts.

class = character, sample = typeface
"""

from fairloss.glyphs.build import make_glyphs
from fairloss.glyphs.options import GlyphOptions
from fairloss.glyphs.packages import FULL, LITE, fetch_fonts

__all__ = ["FULL", "LITE", "GlyphOptions", "fetch_fonts", "make_glyphs"]
