/* slot.c - CRC16 of keys, with hash tags. */
#include "cmd/slot.h"

#define CRC16_POLYNOMIAL 0x1021

static uint32_t crc16(const uint8_t *data, size_t size)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint32_t)data[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 0x8000 ? crc << 1 ^ CRC16_POLYNOMIAL : crc << 1;
        }
    }
    return crc & 0xffff;
}

uint32_t wdb_key_slot(struct wdb_slice key)
{
    const uint8_t *open =
        key.size == 0 ? NULL : memchr(key.data, '{', key.size);
    if (open != NULL) {
        const uint8_t *begin = open + 1;
        const size_t rest = key.size - (size_t)(begin - key.data);
        const uint8_t *close = rest == 0 ? NULL : memchr(begin, '}', rest);
        if (close != NULL && close > begin) {
            key = wdb_slice(begin, (size_t)(close - begin));
        }
    }
    return crc16(key.data, key.size) & (WDB_SLOT_COUNT - 1);
}
