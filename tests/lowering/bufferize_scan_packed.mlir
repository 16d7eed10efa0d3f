// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx512}' | filecheck %s

// The weight is the same in every step: its packed copy is made once, in front of the loop, and the product reads that.
// CHECK:      func.func private @[[STEP:k.*]](%{{.*}}: memref<64x64xf32>, %{{.*}}, %packed: memref<4096xf32>, %{{.*}}) attributes {{{.*}}lamina.packed = array<i64: 0, 3>}
// CHECK:      func.func @main
// CHECK:      %[[COPY:.*]] = memref.view %arena{{.*}} to memref<4096xf32>
// CHECK-NEXT: func.call @{{k.*}}(%w, %[[COPY]])
// CHECK:      scf.for
// CHECK:      func.call @[[STEP]](%w, %{{.*}}, %[[COPY]], %{{.*}})
func.func @main(%h: tensor<8x64xf32>, %xs: tensor<5x8x64xf32>, %w: tensor<64x64xf32>) -> tensor<8x64xf32> {
  %0 = prim.scan %h, %xs, %w {carried = 1 : i64, scanned = 1 : i64, steps = 5 : i64, reverse = false} : (tensor<8x64xf32>, tensor<5x8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32> {
  ^bb0(%a: tensor<8x64xf32>, %x: tensor<8x64xf32>, %u: tensor<64x64xf32>):
    %1 = prim.permute %u {order = array<i64: 1, 0>} : (tensor<64x64xf32>) -> tensor<64x64xf32>
    %2 = prim.matmul %a, %1 : (tensor<8x64xf32>, tensor<64x64xf32>) -> tensor<8x64xf32>
    %3 = prim.add %2, %x : (tensor<8x64xf32>, tensor<8x64xf32>) -> tensor<8x64xf32>
    %4 = prim.tanh %3 : (tensor<8x64xf32>) -> tensor<8x64xf32>
    scan.yield %4 : (tensor<8x64xf32>) -> ()
  }
  func.return %0 : tensor<8x64xf32>
}
