--- DPO in plain PyTorch (arXiv:2305.18290): the peer of recipes/dpo.lua.

return require("peer").offline("dpo", {})
