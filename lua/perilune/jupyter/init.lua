--- jupyter: the prompt as a kernel of notebooks: Jupyter's messages, around perilune.repl.session.
--
-- The sockets are the host's (lua/host/jupyter), in a module of their own that is there when libzmq
-- and libsodium were found at build time.
--
-- May use: base, repl, show, perilune.

local lazy = require("perilune.base.lazy")

return lazy({}, {
  connection = "perilune.jupyter.connection",
  kernel = "perilune.jupyter.kernel",
  kernelspec = "perilune.jupyter.kernelspec",
})
