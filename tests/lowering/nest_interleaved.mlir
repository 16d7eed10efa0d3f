// RUN: lamina opt %s -p 'fuse,layout,kernel-to-linalg,bufferize{target=avx2},linalg-to-loops{target=avx2}' | filecheck %s

// Pairs turned by an angle: even and odd elements come out of the same two vectors, and go back in two.
// CHECK: func.func private @k0
// CHECK-COUNT-2: vector.load %{{[0-9]+}}[%{{[0-9]+}}] : memref<8192xf32>, vector<8xf32>
// CHECK-NEXT: vector.shuffle %{{[0-9]+}}, %{{[0-9]+}} [0, 2, 4, 6, 8, 10, 12, 14]
// CHECK: vector.shuffle %{{[0-9]+}}, %{{[0-9]+}} [1, 3, 5, 7, 9, 11, 13, 15]
// CHECK-NOT: memref.load
// CHECK: vector.shuffle %{{[0-9]+}}, %{{[0-9]+}} [0, 8, 1, 9, 2, 10, 3, 11]
// CHECK: vector.shuffle %{{[0-9]+}}, %{{[0-9]+}} [4, 12, 5, 13, 6, 14, 7, 15]
// CHECK-NOT: memref.store
// CHECK: func.func @main
func.func @main(%x: tensor<128x64xf32>, %c: tensor<128x32xf32>, %s: tensor<128x32xf32>) -> (tensor<128x32x2xf32>) {
  %0 = prim.slice %x {start = array<i64: 0, 0>, size = array<i64: 128, 32>, step = array<i64: 1, 2>} : (tensor<128x64xf32>) -> tensor<128x32xf32>
  %1 = prim.slice %x {start = array<i64: 0, 1>, size = array<i64: 128, 32>, step = array<i64: 1, 2>} : (tensor<128x64xf32>) -> tensor<128x32xf32>
  %2 = prim.mul %0, %c : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %3 = prim.mul %1, %s : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %4 = prim.sub %2, %3 : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %5 = prim.mul %0, %s : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %6 = prim.mul %1, %c : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %7 = prim.add %5, %6 : (tensor<128x32xf32>, tensor<128x32xf32>) -> tensor<128x32xf32>
  %8 = prim.reshape %4 {to = array<i64: 128, 32, 1>} : (tensor<128x32xf32>) -> tensor<128x32x1xf32>
  %9 = prim.reshape %7 {to = array<i64: 128, 32, 1>} : (tensor<128x32xf32>) -> tensor<128x32x1xf32>
  %10 = prim.concat %8, %9 {axis = 2 : i64} : (tensor<128x32x1xf32>, tensor<128x32x1xf32>) -> tensor<128x32x2xf32>
  func.return %10 : tensor<128x32x2xf32>
}
