// RUN: lamina opt %s -p 'linalg-to-gpu{target=sm_90a_wgmma}' | filecheck %s
// A convolution that takes every second pixel: boxes of 4 x 4 pixels of 4 images, moved by a tap, and stored as they were brought.
builtin.module {
  func.func @k0(%x: memref<16x29x29x64xbf16>, %w: memref<128x3x3x64xbf16>, %y: memref<16x14x14x128xbf16>) attributes {lamina.inputs = 2 : i64, lamina.outputs = 1 : i64} {
    %zero = arith.constant 0.000000e+00 : f32
    %t = memref.alloca() : memref<16x14x14x128xf32>
    linalg.fill ins(%zero : f32) outs(%t : memref<16x14x14x128xf32>)
    linalg.generic {indexing_maps = [affine_map<(n, i, j, o, v, u, c) -> (n, i * 2 + v, j * 2 + u, c)>, affine_map<(n, i, j, o, v, u, c) -> (o, v, u, c)>, affine_map<(n, i, j, o, v, u, c) -> (n, i, j, o)>], iterator_types = ["parallel", "parallel", "parallel", "parallel", "reduction", "reduction", "reduction"]} ins(%x, %w : memref<16x29x29x64xbf16>, memref<128x3x3x64xbf16>) outs(%t : memref<16x14x14x128xf32>) {
    ^bb0(%a: bf16, %b: bf16, %c: f32):
      %aw = arith.extf %a : bf16 to f32
      %bw = arith.extf %b : bf16 to f32
      %p = arith.mulf %aw, %bw : f32
      %s = arith.addf %c, %p : f32
      linalg.yield %s : f32
    }
    linalg.generic {indexing_maps = [affine_map<(n, i, j, o) -> (n, i, j, o)>, affine_map<(n, i, j, o) -> (n, i, j, o)>], iterator_types = ["parallel", "parallel", "parallel", "parallel"]} ins(%t : memref<16x14x14x128xf32>) outs(%y : memref<16x14x14x128xbf16>) {
    ^bb0(%a: f32, %b: bf16):
      %r = arith.truncf %a : f32 to bf16
      linalg.yield %r : bf16
    }
    func.return
  }
  func.func @main(%x: memref<16x29x29x64xbf16>, %w: memref<128x3x3x64xbf16>, %y: memref<16x14x14x128xbf16>, %arena: memref<0xi8>) {
    func.call @k0(%x, %w, %y) {origin = "net.py:3"} : (memref<16x29x29x64xbf16>, memref<128x3x3x64xbf16>, memref<16x14x14x128xbf16>) -> ()
    func.return
  }
}
// CHECK:      nv.block = 384 : i64
// The image has channels, every second of its columns and rows, which a tap moves, and images.
// CHECK-DAG:  nv.tensor_map %x offset 0 sizes [64, 29, 29, 16] strides [64, 1856, 53824] box [64, 2, 2, 16] every [1, 2, 2, 1]
// CHECK-DAG:  nv.tensor_map %w offset 0 sizes [64, 3, 3, 128] strides [64, 192, 576] box [64, 1, 1, 128]
// CHECK-DAG:  nv.tensor_map %y offset 0 sizes [128, 14, 14, 16] strides [128, 1792, 25088] box [64, 2, 2, 16]
// CHECK:      nv.mbarrier_expect {{.*}}, 32768
// CHECK-COUNT-3: nv.tma_load %{{.*}}[%{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}] to
// CHECK-NOT:  nv.tma_load
// CHECK:      } else {
// CHECK:      nv.wgmma %sums, {{.*}} "bf16" "bf16" : memref<64xf32, "registers">
// CHECK:      nv.wgmma_wait 0
// CHECK:      nv.tma_store %{{.*}} to %{{.*}}[%{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}, %{{[^,]*}}]
// CHECK-NOT:  memref.store %{{.*}} memref<401408xbf16>
