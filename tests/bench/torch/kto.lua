--- KTO in plain PyTorch (arXiv:2402.01306): the peer of recipes/kto.lua.

return require("peer").offline("kto", {})
