--- Problems whose answers a program can check: digits to be sorted, two numbers to be added.
--
-- Every problem is a line of words, "7 3 9 :" or "4 8 + 3 5 :", and so is its answer, "3 7 9" or
-- "3 8" (the sum 83, its last digit first, so that carries go the way in which one writes). The
-- words are all there are: the tokenizer knows these alone.

local pl = require("perilune")

local problems = {}

local DIGITS <const> = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" }

local function digits_of(number, width)
  local list = {}
  for i = 1, width do
    list[i] = tostring(number % 10)
    number = number // 10
  end
  return list
end

local tasks = { sort = {}, sum = {} }

--- A problem of `size` digits, drawn from a stream.
function tasks.sort.draw(stream, size)
  local list = {}
  for i = 1, size do
    list[i] = DIGITS[stream:int(1, 10)]
  end
  return list
end

--- The digits of a problem in order.
function tasks.sort.solve(words)
  local list = table.move(words, 1, #words, 1, {})
  table.sort(list)
  return list
end

--- Two numbers of `size` digits each, the last digit first, with a + between.
function tasks.sum.draw(stream, size)
  local list = digits_of(stream:int(0, 10 ^ size // 1 - 1), size)
  list[#list + 1] = "+"
  for _, digit in ipairs(digits_of(stream:int(0, 10 ^ size // 1 - 1), size)) do
    list[#list + 1] = digit
  end
  return list
end

local function number_of(words, first, last)
  local number = 0
  for i = last, first, -1 do
    number = number * 10 + math.tointeger(words[i])
  end
  return number
end

--- The digits of the sum, the last one first: one more than the numbers have.
function tasks.sum.solve(words)
  local size = (#words - 1) // 2
  local sum = number_of(words, 1, size) + number_of(words, size + 2, 2 * size + 1)
  return digits_of(sum, size + 1)
end

local function words_of(text)
  local words = {}
  for word in text:gmatch("[^%s:]+") do
    words[#words + 1] = word
  end
  return words
end

--- Different problems, so that those held out were never trained on: a function of the seed alone.
-- @tparam string task "sort" or "sum"
-- @tparam integer size digits to sort, or of each number
-- @tparam integer count how many; fewer when there are no more
-- @tparam integer seed
-- @treturn {{prompt=string,completion=string},...}
function problems.draw(task, size, count, seed)
  local stream, rows, known, misses = pl.random.stream(seed, "sort.problems"), {}, {}, 0
  while #rows < count and misses < 1000 do
    local words = tasks[task].draw(stream, size)
    local text = table.concat(words, " ") .. " :"
    if known[text] then
      misses = misses + 1
    else
      known[text], misses = true, 0
      local answer = table.concat(tasks[task].solve(words), " ")
      rows[#rows + 1] = { prompt = text, completion = " " .. answer }
    end
  end
  return rows
end

--- A reward of 1 for the right answer that ends, else 0.
-- @tparam string task "sort" or "sum"
-- @treturn function of a reward function's arguments
function problems.checker(task)
  return function(prompts, answers, _, ended)
    local scores = {}
    for i, answer in ipairs(answers) do
      local right = table.concat(tasks[task].solve(words_of(prompts[i])), " ")
      local given = answer:gsub("^%s+", ""):gsub("%s+$", "")
      scores[i] = ended[i] and given == right and 1 or 0
    end
    return scores
  end
end

--- A model that knows nothing, with a tokenizer of the words of problems.
-- @tparam string folder where it is saved
-- @tparam table opts `width`, `layers`, `heads`, `context`, `seed`
function problems.new_model(folder, opts)
  local tok = pl.tokenizer.train {
    kind = "word",
    texts = { table.concat(DIGITS, " ") .. " + :" },
    vocab_size = 15,
    special = { "<s>", "</s>", "<unk>" },
    bos = "<s>",
    eos = "</s>",
    unk = "<unk>",
  }
  local model = pl.model.new({
    model_type = "gpt2",
    n_embd = opts.width,
    n_layer = opts.layers,
    n_head = opts.heads,
    n_positions = opts.context,
    vocab_size = #tok,
  }, { seed = opts.seed })
  assert(model:save(folder, { tokenizer = tok }))
end

return problems
