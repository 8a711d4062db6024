// Safetensors files spelt out byte by byte, right and wrong ones.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace fttrain {

inline std::string LittleEndian(uint64_t value) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &value, 8);
  return bytes;
}

// Header length, header, data.
inline std::string FileBytes(std::string_view header, std::string_view data = "") {
  return LittleEndian(header.size()) + std::string(header) + std::string(data);
}

// "name":{...} of a header.
inline std::string Item(std::string_view name, std::string_view dtype, std::string_view shape,
                        std::string_view offsets) {
  return "\"" + std::string(name) + R"(":{"dtype":")" + std::string(dtype) + R"(","shape":)" +
         std::string(shape) + R"(,"data_offsets":)" + std::string(offsets) + "}";
}

}  // namespace fttrain
