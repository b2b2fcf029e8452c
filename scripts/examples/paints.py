"""The toys' paints."""

from scripts.examples.scene import Paint

WHITE = Paint("#eef0ee", roughness=0.4)
RED = Paint("#d63a2f", roughness=0.3)
ORANGE = Paint("#f08a24", roughness=0.4)
STEEL = Paint("#8d98a3", roughness=0.35, metallic=0.5)
GRAPHITE = Paint("#3a4048", roughness=0.5)
RUBBER = Paint("#2b2d30", roughness=0.9)
GLASS = Paint("#24384a", roughness=0.12)
CYAN = Paint("#5fe3f0", roughness=0.3)
LAMP = Paint("#fff1c2", roughness=0.2)
