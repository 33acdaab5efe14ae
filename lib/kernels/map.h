/* map.h: MAP(m, (a), (b), ...) = m(a), m(b), ...   up to 24 argument tuples. */
#ifndef AIOS_KERNELS_MAP_H
#define AIOS_KERNELS_MAP_H

#define MAP_1_(m, a) m a
#define MAP_2_(m, a, ...) m a, MAP_1_(m, __VA_ARGS__)
#define MAP_3_(m, a, ...) m a, MAP_2_(m, __VA_ARGS__)
#define MAP_4_(m, a, ...) m a, MAP_3_(m, __VA_ARGS__)
#define MAP_5_(m, a, ...) m a, MAP_4_(m, __VA_ARGS__)
#define MAP_6_(m, a, ...) m a, MAP_5_(m, __VA_ARGS__)
#define MAP_7_(m, a, ...) m a, MAP_6_(m, __VA_ARGS__)
#define MAP_8_(m, a, ...) m a, MAP_7_(m, __VA_ARGS__)
#define MAP_9_(m, a, ...) m a, MAP_8_(m, __VA_ARGS__)
#define MAP_10_(m, a, ...) m a, MAP_9_(m, __VA_ARGS__)
#define MAP_11_(m, a, ...) m a, MAP_10_(m, __VA_ARGS__)
#define MAP_12_(m, a, ...) m a, MAP_11_(m, __VA_ARGS__)
#define MAP_13_(m, a, ...) m a, MAP_12_(m, __VA_ARGS__)
#define MAP_14_(m, a, ...) m a, MAP_13_(m, __VA_ARGS__)
#define MAP_15_(m, a, ...) m a, MAP_14_(m, __VA_ARGS__)
#define MAP_16_(m, a, ...) m a, MAP_15_(m, __VA_ARGS__)
#define MAP_17_(m, a, ...) m a, MAP_16_(m, __VA_ARGS__)
#define MAP_18_(m, a, ...) m a, MAP_17_(m, __VA_ARGS__)
#define MAP_19_(m, a, ...) m a, MAP_18_(m, __VA_ARGS__)
#define MAP_20_(m, a, ...) m a, MAP_19_(m, __VA_ARGS__)
#define MAP_21_(m, a, ...) m a, MAP_20_(m, __VA_ARGS__)
#define MAP_22_(m, a, ...) m a, MAP_21_(m, __VA_ARGS__)
#define MAP_23_(m, a, ...) m a, MAP_22_(m, __VA_ARGS__)
#define MAP_24_(m, a, ...) m a, MAP_23_(m, __VA_ARGS__)
#define MAP_PICK_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, \
                  name, ...) name
#define MAP(m, ...) \
    MAP_PICK_(__VA_ARGS__, MAP_24_, MAP_23_, MAP_22_, MAP_21_, MAP_20_, MAP_19_, MAP_18_, MAP_17_, MAP_16_, MAP_15_, MAP_14_, MAP_13_, \
              MAP_12_, MAP_11_, MAP_10_, MAP_9_, MAP_8_, MAP_7_, MAP_6_, MAP_5_, MAP_4_, MAP_3_, MAP_2_, MAP_1_, 0)(m, __VA_ARGS__)
/* MAP_COUNT((a), (b), ...): how many */
#define MAP_COUNT(...) MAP_PICK_(__VA_ARGS__, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

#endif
