# llama-cpp-python's build forces llama.cpp's "common" library, which the binding never loads; without it the compile takes
# 3 minutes on two cores instead of 8 to 12. CMake includes this file through CMAKE_PROJECT_llama.cpp_INCLUDE.
set(LLAMA_BUILD_COMMON OFF CACHE BOOL "" FORCE)
