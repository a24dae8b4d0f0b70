"""`vemctl finetune METHOD`: train on, from weights that are there."""

from vemctl.cli.train import FinetuneGroup, group

app = group(FinetuneGroup, "Train on from published or own weights.")
