// Stand-in for ncnn's net.h, with the signatures that segment.cpp uses. Files are not computed: each input is written to
// $NCNN_FED/NAME as w, h, c and values, and each output is read from $NCNN_FOUND/NAME.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace ncnn {

struct Option {
    bool use_fp16_packed = true, use_fp16_storage = true, use_fp16_arithmetic = true;
    bool use_bf16_storage = false, use_vulkan_compute = false;
};

class Mat {
public:
    Mat() {}
    Mat(int w, int h = 1, int c = 1) : w(w), h(h), c(c), held(new std::vector<float>((size_t)w * h * c)) {
        data = held->data();
    }
    bool empty() const { return !data; }
    size_t size() const { return (size_t)w * h * c; }
    void fill(float value) { std::fill_n((float*)data, size(), value); }
    float* row(int y) { return (float*)data + (size_t)y * w; }
    const float* row(int y) const { return (const float*)data + (size_t)y * w; }
    float& operator[](size_t i) { return ((float*)data)[i]; }
    Mat channel(int q) const {
        Mat one = *this;
        one.data = (float*)data + (size_t)q * w * h;
        one.c = 1;
        return one;
    }
    void* data = nullptr;
    int w = 0, h = 0, c = 0;

private:
    std::shared_ptr<std::vector<float>> held;
};

class Extractor {
public:
    int input(const char* name, const Mat& in) {
        std::ofstream to(std::string(std::getenv("NCNN_FED")) + "/" + name);
        to.precision(9);
        to << in.w << " " << in.h << " " << in.c;
        for (size_t i = 0; i < in.size(); i++) to << " " << ((const float*)in.data)[i];
        return 0;
    }
    int extract(const char* name, Mat& out) {
        std::ifstream from(std::string(std::getenv("NCNN_FOUND")) + "/" + name);
        int w, h, c;
        if (!(from >> w >> h >> c)) return -1;
        out = Mat(w, h, c);
        for (size_t i = 0; i < out.size(); i++) from >> out[i];
        return 0;
    }
};

class Net {
public:
    Option opt;
    int load_param(const char* path) {
        if (opt.use_fp16_packed || opt.use_fp16_storage || opt.use_fp16_arithmetic) return -1;
        std::ifstream from(path);
        std::string line, word;
        std::getline(from, line), std::getline(from, line);
        std::set<std::string> used, made;
        while (std::getline(from, line)) {
            std::istringstream words(line);
            int in, out;
            words >> word >> word >> in >> out;
            while (in--) words >> word, used.insert(word);
            while (out--) words >> word, made.insert(word);
        }
        for (const std::string& name : made)
            if (!used.count(name)) ends.push_back(name);
        for (const std::string& name : ends) names.push_back(name.c_str());
        return names.empty() ? -1 : 0;
    }
    int load_model(const char* path) { return std::ifstream(path).good() ? 0 : -1; }
    const std::vector<const char*>& output_names() const { return names; }
    Extractor create_extractor() const { return Extractor(); }

private:
    std::vector<std::string> ends;
    std::vector<const char*> names;
};

inline void resize_bilinear_c3(const unsigned char* from, int w, int h, unsigned char* to, int new_w, int new_h) {
    if (w != new_w || h != new_h) std::abort();  // the test's photos need no resize
    std::copy_n(from, (size_t)3 * w * h, to);
}

inline void resize_bilinear(const Mat& from, Mat& to, int w, int h) {
    to = Mat(w, h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            const float fx = std::min(std::max((x + 0.5f) * from.w / w - 0.5f, 0.f), from.w - 1.f);
            const float fy = std::min(std::max((y + 0.5f) * from.h / h - 0.5f, 0.f), from.h - 1.f);
            const int x0 = (int)fx, y0 = (int)fy, x1 = std::min(x0 + 1, from.w - 1), y1 = std::min(y0 + 1, from.h - 1);
            const float above = from.row(y0)[x0] + (from.row(y0)[x1] - from.row(y0)[x0]) * (fx - x0);
            const float below = from.row(y1)[x0] + (from.row(y1)[x1] - from.row(y1)[x0]) * (fx - x0);
            to.row(y)[x] = above + (below - above) * (fy - y0);
        }
}

inline void copy_cut_border(const Mat& from, Mat& to, int top, int bottom, int left, int right) {
    to = Mat(from.w - left - right, from.h - top - bottom);
    for (int y = 0; y < to.h; y++) std::copy_n(from.row(y + top) + left, to.w, to.row(y));
}

}  // namespace ncnn
