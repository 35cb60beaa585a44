--- Limits of the machine: threads and address space are refused with a sentence, not by a crash or
-- a hang.

local core = require("perilune.core")
local program = require("perilune.host").executable

-- What a shell command prints, errors too, and its exit status.
local function output(command)
  local file = io.popen(command .. " 2>&1; echo status $?")
  local text = file:read("a")
  file:close()
  return text
end

describe("threads", function()
  it("are 1 to 1024, told by the call", function()
    local before = core.threads()
    for _, n in ipairs { 99999, 1025, 0, -1, 1 << 40 } do
      assert.has_error(
        function() core.threads(n) end,
        ("%d threads: there may be 1 to 1024"):format(n)
      )
    end
    assert.are.equal(before, core.threads())
  end)

  it("of OMP_NUM_THREADS too", function()
    local text = output(("OMP_NUM_THREADS=99999 timeout 60 %s -e 'print(1)'"):format(program))
    assert.matches("OMP_NUM_THREADS asks for 99999 threads: there may be 1 to 1024", text, 1, true)
    assert.matches("status 1\n$", text)
  end)

  it("of PERILUNE_ISA is one of three names", function()
    for _, name in ipairs { "neon", "AVX2", "avx" } do
      local text = output(("PERILUNE_ISA=%s timeout 60 %s -e 'print(1)'"):format(name, program))
      local wanted = ("PERILUNE_ISA is '%s': plain, avx2 or avx512 wanted"):format(name)
      assert.matches(wanted, text, 1, true)
      assert.matches("status 1\n$", text)
      assert.not_matches("traceback", text)
    end
    for _, name in ipairs { "plain", "''" } do
      local text = output(("PERILUNE_ISA=%s timeout 60 %s -e 'print(1)'"):format(name, program))
      assert.are.equal("1\nstatus 0\n", text)
    end
  end)

  it("of PERILUNE_BF16 is auto or one of three rules", function()
    for _, name in ipairs { "tile", "AUTO", "bf16" } do
      local text = output(("PERILUNE_BF16=%s timeout 60 %s -e 'print(1)'"):format(name, program))
      local wanted = ("PERILUNE_BF16 is '%s': auto, chain, pairs or tiles wanted"):format(name)
      assert.matches(wanted, text, 1, true)
      assert.matches("status 1\n$", text)
      assert.not_matches("traceback", text)
    end
    for _, name in ipairs { "auto", "chain", "pairs", "tiles", "''" } do
      local text = output(("PERILUNE_BF16=%s timeout 60 %s -e 'print(1)'"):format(name, program))
      assert.are.equal("1\nstatus 0\n", text)
    end
  end)

  it("of --threads too", function()
    local text = output(program .. " generate no-model --threads 99999")
    assert.matches("1024", text, 1, true)
    assert.matches("status 1\n$", text)
  end)
end)

describe("address space", function()
  -- A sanitized program reserves terabytes of address space before it begins.
  local it = os.getenv("ASAN_OPTIONS") and pending or it

  it("that OpenBLAS cannot start in is said, not waited for", function()
    local text = output(("ulimit -v 200000; timeout 60 %s -e 'print(1)'"):format(program))
    assert.matches("the address space is limited to 195 MB (ulimit -v)", text, 1, true)
    assert.matches("status 1\n$", text)
  end)

  it("that is enough is used", function()
    local text =
      output(("ulimit -v 500000; OMP_NUM_THREADS=1 timeout 60 %s -e 'print(1)'"):format(program))
    assert.are.equal("1\nstatus 0\n", text)
  end)
end)
