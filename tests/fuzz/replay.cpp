// Runs a fuzz target without libFuzzer: on each file of a corpus, and on a number of random changes of these.
// Usage: target CORPUS CHANGES
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

std::vector<Bytes> read_all(const char* folder) {
  std::vector<Bytes> inputs(1);  // and the empty one
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

void change(Bytes& bytes, std::mt19937_64& random) {
  const auto below = [&](size_t end) { return size_t(random() % end); };
  switch (bytes.empty() ? 0 : below(4)) {
    case 0:
      bytes.insert(bytes.begin() + ptrdiff_t(below(bytes.size() + 1)), uint8_t(random()));
      break;
    case 1:
      bytes.erase(bytes.begin() + ptrdiff_t(below(bytes.size())));
      break;
    case 2:
      bytes[below(bytes.size())] ^= uint8_t(1 << below(8));
      break;
    default:
      bytes[below(bytes.size())] = uint8_t(random());
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::vector<Bytes> inputs = read_all(arguments[1]);
  for (const Bytes& input : inputs) LLVMFuzzerTestOneInput(input.data(), input.size());
  std::mt19937_64 random(0);
  for (long left = std::atol(arguments[2]); left > 0; --left) {
    Bytes input = inputs[random() % inputs.size()];
    for (size_t changes = 1 + random() % 4; changes > 0; --changes) change(input, random);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::cout << inputs.size() << " inputs\n";
}
