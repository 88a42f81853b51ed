"""COCO numbers, and what lies behind them."""
