--- Prints the floors of the engine and of the library, from the top: each room with its lines and
-- the rooms that it uses; the longest file and function.
--
--   ./perilune tests/tools/floors.lua          in the top folder of the checkout

print(dofile("tests/lua/support/floors.lua").picture())
