--- Reads a file into a store, to be killed while it does: STORE FILE.

local ingest = require("perilune.ingest")
local store = require("perilune.store")

local target = assert(store.open(arg[1]))
local done = assert(ingest.file(target, arg[2]))
io.write(("%d %d\n"):format(done.rows, done.bad))
target:close()
