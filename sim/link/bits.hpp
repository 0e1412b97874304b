// Fields of a packed vector, as DPI hands it over: little-endian words of 32 bits.
#pragma once
#include <cstdint>
#include <cstring>

#include "svdpi.h"

namespace bits {

inline uint64_t get(const svBitVecVal *vector, unsigned offset, unsigned width) {
    uint64_t value = 0;
    for (unsigned done = 0; done < width;) {
        unsigned at = offset + done, lane = at % 32;
        uint64_t word = uint32_t(vector[at / 32]) >> lane;
        value |= word << done;
        done += 32 - lane;
    }
    return width < 64 ? value & ((1ull << width) - 1) : value;
}

inline void set(svBitVecVal *vector, unsigned offset, unsigned width, uint64_t value) {
    for (unsigned done = 0; done < width;) {
        unsigned at = offset + done, lane = at % 32;
        unsigned count = 32 - lane < width - done ? 32 - lane : width - done;
        uint32_t mask = (count == 32 ? ~0u : (1u << count) - 1) << lane;
        vector[at / 32] = (vector[at / 32] & ~mask) | (uint32_t(value >> done) << lane & mask);
        done += count;
    }
}

inline void get_octets(const svBitVecVal *vector, unsigned offset, uint8_t *octets, unsigned count) {
    if (offset % 8 == 0) {
        memcpy(octets, reinterpret_cast<const uint8_t *>(vector) + offset / 8, count);
        return;
    }
    for (unsigned n = 0; n < count; n++) octets[n] = uint8_t(get(vector, offset + 8 * n, 8));
}

inline void set_octets(svBitVecVal *vector, unsigned offset, const uint8_t *octets,
                       unsigned count) {
    if (offset % 8 == 0) {
        memcpy(reinterpret_cast<uint8_t *>(vector) + offset / 8, octets, count);
        return;
    }
    for (unsigned n = 0; n < count; n++) set(vector, offset + 8 * n, 8, octets[n]);
}

inline void clear(svBitVecVal *vector, unsigned width) { memset(vector, 0, (width + 31) / 32 * 4); }

}  // namespace bits
