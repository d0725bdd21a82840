"""make.py: progressive.jpg from chelsea.png: a progressive JPEG with scans that refine earlier ones and restart markers, as libjpeg writes it. Pillow 13.0.0."""
from pathlib import Path
from PIL import Image

here = Path(__file__).parent
picture = Image.open(here / "chelsea.png").convert("RGB").resize((75, 50), Image.BICUBIC)
picture.save(here / "progressive.jpg", quality=85, progressive=True, restart_marker_rows=1)
